/* A stand-in for the XISL library of Varex (PerkinElmer) flat panels: the same ABI, one panel, no hardware.
 *
 * Signatures are those of the vendor's public header. Functions named sim_xisl_* are not the vendor's: through
 * them a simulator supplies the pixels of every readout and scripts faults. All state is this library's own, so
 * a copy of the file is another panel. Callbacks run on this library's thread, never on the caller's.
 *
 * -DXISL_INT_HANDLE builds the older Linux ABI, whose handles are ints instead of pointers.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint32_t UINT, DWORD, HIS_RETURN;
typedef uint16_t WORD;
typedef int32_t BOOL;
typedef void *HWND, *ACQDESCPOS;
#ifdef XISL_INT_HANDLE
typedef int HACQDESC;
#else
typedef void *HACQDESC;
#endif
typedef void (*CALLBACK)(HACQDESC);
typedef int (*READOUT)(uint16_t *pixels, UINT rows, UINT columns);

typedef struct { /* the identity of a network panel, 128 bytes */
    char type[32], made[8], place[8], unique_id[16], device_id[16], rest[48];
} PROPERTIES;

typedef struct { /* 32 words that every frame carries */
    WORD header_id, prom_id, resolution_x, resolution_y, rows, columns, zoom[4], frame_rows, row_type;
    WORD row_time, clock, sorting, timing, gain, leak_rows, access, bias, ug_comp, camera_type;
    WORD frame_count, binning, integrated_ms, integrated_us, status, command[4], dummy;
} HEADER_EX;

enum { /* the vendor's error codes that this panel gives by itself */
    OK = 0, NOCAMERA = 3, ALREADY_RUNNING = 5, INVALID_DESC = 7, SETFRMSYNC = 17, INVALID_CALL = 20,
    BUFFER_SPACE = 29, INVALID_PARAM = 45, UNKNOWN_ADDRESS = 51, NOT_INITIALIZED = 61, CHANNEL_USED = 146,
};
enum { SEQ_CONTINUOUS = 0x100, SYNC_SOFT = 1, MODE_FRAMEWISE = 3, BOARD_GBIF = 0x20 };
enum { SCRIPTED = 64, NAME_LENGTH = 48, CALLS = 256 };

static struct { char function[NAME_LENGTH]; UINT code; } script[SCRIPTED];
static char calls[CALLS][NAME_LENGTH]; /* the last vendor functions called, a ring */
static unsigned called;
static char hanging[NAME_LENGTH]; /* a vendor function that does not return */
static UINT lasting; /* what every call that needs the panel answers, 0: nothing */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t worker;
static int initialised, open_, stopping, present = 1;

static UINT rows_ = 64, columns_ = 64, transfer_ms, idle_ms = 20000, temperature_mc = 31000;
static char name[16] = "XRD-SIM", ip[16] = "192.0.2.7", mac[16] = "00005b000001";
static READOUT readout;

static WORD gain, binning = 1, trigger_mode;
static UINT sync_mode, data_type_ = 2;
static uint16_t *destination;
static UINT destinations;
static CALLBACK end_frame, end_acquisition;

static int acquisitions, acquiring, ended, triggers, ready, drop_frames, extra_frames, late_frames;
static UINT wanted, options, delivered, frame_count, failed;
static double active_at; /* when the panel last had something to do, s */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static HACQDESC handle(void)
{
#ifdef XISL_INT_HANDLE
    return 0x1017;
#else
    return (HACQDESC)(uintptr_t)0x7f1234567890ULL; /* needs more than 32 bits */
#endif
}

/* Enter a vendor function: note it, hang or fail as scripted; the lock is held afterwards. */
static UINT enter(const char *function, int needs_panel)
{
    pthread_mutex_lock(&lock);
    strncpy(calls[called++ % CALLS], function, NAME_LENGTH - 1);
    while (!strcmp(hanging, function))
        pthread_cond_wait(&changed, &lock);
    for (int i = 0; i < SCRIPTED; i++)
        if (script[i].code && !strcmp(script[i].function, function)) {
            UINT code = script[i].code;
            script[i].code = 0;
            return failed = code;
        }
    return needs_panel && lasting ? (failed = lasting) : OK;
}

static UINT leave(UINT code)
{
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return code;
}

#define ENTER(function) \
    do { UINT scripted_ = enter(function, 1); if (scripted_) return leave(scripted_); } while (0)
/* A vendor function of an open panel; its body may return `leave(code)`. */
#define ON_PANEL(function, arguments, ...) \
    HIS_RETURN Acquisition_##function arguments \
    { \
        ENTER("Acquisition_" #function); \
        if (!open_ || h != handle()) return leave(INVALID_DESC); \
        __VA_ARGS__; \
        return leave(OK); \
    }
/* One that also works, or must be tried, while the panel is out of reach. */
#define ANYHOW(function, arguments, ...) \
    HIS_RETURN Acquisition_##function arguments \
    { \
        UINT scripted = enter("Acquisition_" #function, 0); \
        if (scripted) return leave(scripted); \
        __VA_ARGS__; \
        return leave(OK); \
    }

/* --- the library's thread ------------------------------------------------------------------------------ */

/* Wait that long with the lock released between, less if the thread is to stop. */
static void pause_ms(UINT ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    long ns = until.tv_nsec + (ms % 1000) * 1000000L;
    until.tv_sec += ms / 1000 + ns / 1000000000L;
    until.tv_nsec = ns % 1000000000L;
    while (!stopping && pthread_cond_timedwait(&changed, &lock, &until) == 0)
        ;
}

static void deliver(void)
{
    uint16_t *into = destination + (size_t)(delivered % destinations) * rows_ * columns_;
    size_t size = (size_t)rows_ * columns_ * sizeof *into;
    READOUT source = readout;
    int epoch = acquiring;
    pthread_mutex_unlock(&lock);
    uint16_t *pixels = calloc(1, size);
    int bad = pixels == NULL || (source && source(pixels, rows_, columns_));
    pthread_mutex_lock(&lock);
    pause_ms(transfer_ms);
    bad = bad || drop_frames || !ready || (acquiring != epoch && !late_frames);
    drop_frames -= drop_frames > 0;
    if (!bad)
        memcpy(into, pixels, size);
    free(pixels);
    if (bad)
        return;
    delivered++, frame_count++, ready = 0;
    CALLBACK tell = end_frame;
    pthread_mutex_unlock(&lock);
    if (tell)
        tell(handle());
    pthread_mutex_lock(&lock);
    if (!(options & SEQ_CONTINUOUS) && delivered >= wanted && acquiring == epoch)
        acquiring = 0, ended = 1;
}

static void *work(void *unused)
{
    pthread_mutex_lock(&lock);
    while (!stopping) {
        if (ended) {
            ended = 0;
            CALLBACK tell = end_acquisition;
            pthread_mutex_unlock(&lock);
            if (tell)
                tell(handle());
            pthread_mutex_lock(&lock);
        } else if (acquiring && triggers > 0) {
            triggers--;
            deliver();
            if (extra_frames > 0)
                extra_frames--, triggers++;
        } else {
            pthread_cond_wait(&changed, &lock);
        }
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

static UINT open_panel(HACQDESC *h)
{
    stopping = acquiring = ended = triggers = 0;
    destination = NULL, end_frame = end_acquisition = NULL;
    if (pthread_create(&worker, NULL, work, NULL))
        return NOCAMERA;
    open_ = 1, active_at = now_s();
    *h = handle();
    return OK;
}

/* Called with the lock held. A callback must not close the panel: it would wait for itself. */
static UINT close_panel(void)
{
    if (!open_)
        return OK;
    if (pthread_equal(worker, pthread_self()))
        return INVALID_CALL;
    stopping = 1, acquiring = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(worker, NULL);
    pthread_mutex_lock(&lock);
    open_ = 0, destination = NULL;
    return OK;
}

/* --- the vendor's functions ---------------------------------------------------------------------------- */

ANYHOW(Global_Init, (UINT flags), initialised += flags != 0)

ANYHOW(Global_Cleanup, (void), initialised = 0; return leave(close_panel()))

HIS_RETURN Acquisition_EnumSensors(UINT *count, BOOL irq, BOOL always_open)
{
    (void)irq, (void)always_open;
    ENTER(__func__);
    if (!initialised || open_)
        return leave(open_ ? CHANNEL_USED : NOT_INITIALIZED);
    HACQDESC ignored;
    *count = present;
    return leave(present ? open_panel(&ignored) : OK);
}

HIS_RETURN Acquisition_GetNextSensor(ACQDESCPOS *position, HACQDESC *h)
{
    ENTER(__func__);
    if (!open_)
        return leave(NOCAMERA);
    *position = NULL; /* the last of the list */
    *h = handle();
    return leave(OK);
}

HIS_RETURN Acquisition_GbIF_Init(HACQDESC *h, int channel, BOOL irq, UINT rows, UINT columns, BOOL self_init,
                                 BOOL always_open, int32_t how, unsigned char *address)
{
    (void)channel, (void)irq, (void)rows, (void)columns, (void)self_init, (void)always_open;
    ENTER(__func__);
    const char *known[] = {"", ip, mac, name};
    if (!initialised || how < 0 || how > 3)
        return leave(initialised ? INVALID_PARAM : NOT_INITIALIZED);
    if (!present || (how && strncmp(known[how], (const char *)address, 16)))
        return leave(UNKNOWN_ADDRESS);
    return leave(open_ ? CHANNEL_USED : open_panel(h));
}

ON_PANEL(GetCommChannel, (HACQDESC h, UINT *type, int *channel), *type = BOARD_GBIF, *channel = 0)

ON_PANEL(GbIF_GetDetectorProperties, (HACQDESC h, PROPERTIES *properties),
         memset(properties, 0, sizeof *properties);
         strcpy(properties->type, "XRD SIM 1"), strcpy(properties->made, "012026");
         strcpy(properties->unique_id, name))

ON_PANEL(GetHwHeaderInfoEx, (HACQDESC h, void *info, HEADER_EX *extended),
         memset(info, 0, 24 * sizeof(DWORD)), memset(extended, 0, sizeof *extended);
         extended->header_id = 14, extended->prom_id = 4711, extended->camera_type = 10;
         extended->rows = rows_, extended->columns = columns_, extended->frame_count = frame_count;
         extended->gain = gain, extended->binning = binning)

ON_PANEL(GetConnectionStatus, (HACQDESC h), (void)h)

ON_PANEL(GetTemperature, (HACQDESC h, UINT (*values)[8]),
         memset(values, 0, sizeof *values), (*values)[0] = temperature_mc)

ON_PANEL(GetConfiguration, (HACQDESC h, UINT *frames, UINT *rows, UINT *columns, UINT *data_type,
                            UINT *sorting, BOOL *irq, DWORD *acquisition, DWORD *system, DWORD *sync,
                            DWORD *access),
         UINT divider = (binning & 0xff) > 1 ? 2 : 1; /* of all binnings 2 x 2 is enough to go wrong */
         *frames = destinations, *rows = rows_ / divider, *columns = columns_ / divider;
         *data_type = data_type_, *sorting = 0, *irq = 1, *acquisition = 0, *system = 0;
         *sync = sync_mode, *access = 0)

ON_PANEL(SetCallbacksAndMessages,
         (HACQDESC h, HWND window, UINT error, UINT losing, CALLBACK frame, CALLBACK acquisition),
         (void)window, (void)error, (void)losing;
         end_frame = frame, end_acquisition = acquisition)

ON_PANEL(SetCameraMode, (HACQDESC h, UINT mode), if (mode > 7) return leave(INVALID_PARAM))

ON_PANEL(SetCameraGain, (HACQDESC h, WORD mode), gain = mode)

ON_PANEL(SetCameraBinningMode, (HACQDESC h, WORD mode), binning = mode)

ON_PANEL(SetCameraTriggerMode, (HACQDESC h, WORD mode), trigger_mode = mode)

ON_PANEL(DefineDestBuffers, (HACQDESC h, uint16_t *pixels, UINT frames, UINT rows, UINT columns),
         if (!pixels || !frames || rows != rows_ || columns != columns_) return leave(INVALID_PARAM);
         destination = pixels, destinations = frames)

ON_PANEL(ResetFrameCnt, (HACQDESC h), frame_count = 0)

ON_PANEL(SetFrameSyncMode, (HACQDESC h, DWORD mode), sync_mode = mode, active_at = now_s())

ON_PANEL(SetFrameSyncTimeMode, (HACQDESC h, UINT mode, UINT delay_ms),
         if (mode > 7 || delay_ms > 5000) return leave(INVALID_PARAM))

ON_PANEL(Acquire_Image, (HACQDESC h, UINT frames, UINT skip, UINT opt, uint16_t *offset, DWORD *gains,
                         DWORD *pixel_list),
         (void)skip, (void)offset, (void)gains, (void)pixel_list;
         if (acquiring) return leave(ALREADY_RUNNING);
         if (!destination || frames > destinations) return leave(BUFFER_SPACE);
         acquiring = ++acquisitions, ended = triggers = 0, ready = 1;
         wanted = frames, options = opt, delivered = 0)

/* Asleep since too long ago, or in a mode that soft triggers do not read out, the panel stays silent. */
ON_PANEL(SetFrameSync, (HACQDESC h),
         if (!acquiring) return leave(SETFRMSYNC);
         int awake = now_s() - active_at <= idle_ms / 1000.0;
         if (awake && sync_mode == SYNC_SOFT && trigger_mode == MODE_FRAMEWISE)
             triggers++, active_at = now_s())

ON_PANEL(GetActFrame, (HACQDESC h, DWORD *acquired, DWORD *buffered),
         *acquired = (delivered - 1) % 8 + 1, *buffered = delivered)

ON_PANEL(SetReady, (HACQDESC h, BOOL flag), ready = flag)

ON_PANEL(Abort, (HACQDESC h), ended = acquiring != 0, acquiring = triggers = 0)

ANYHOW(GetErrorCode, (HACQDESC h, DWORD *his, DWORD *board), (void)h, *his = failed, *board = 0)

ANYHOW(Close, (HACQDESC h), if (!open_ || h != handle()) return leave(INVALID_DESC);
       return leave(close_panel()))

ANYHOW(CloseAll, (void), return leave(close_panel()))

/* --- the simulator's side ------------------------------------------------------------------------------ */

/* The panel; a change of its size needs a new connection. */
void sim_xisl_panel(UINT rows, UINT columns, const char *called_name, READOUT source)
{
    pthread_mutex_lock(&lock);
    rows_ = rows, columns_ = columns, readout = source;
    strncpy(name, called_name, sizeof name - 1);
    leave(OK);
}

/* The next call of that function returns that code and does nothing. */
void sim_xisl_script(const char *function, UINT code)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SCRIPTED; i++)
        if (!script[i].code) {
            strncpy(script[i].function, function, NAME_LENGTH - 1);
            script[i].code = code;
            break;
        }
    leave(OK);
}

/* Calls of that function do not return until another name is set. */
void sim_xisl_hang(const char *function)
{
    pthread_mutex_lock(&lock);
    memset(hanging, 0, sizeof hanging);
    strncpy(hanging, function, sizeof hanging - 1);
    leave(OK);
}

/* How the panel behaves: frames that never come, come uncalled or late; times in ms; out of reach. */
void sim_xisl_behave(const char *what, UINT value)
{
    pthread_mutex_lock(&lock);
    if (!strcmp(what, "unreachable")) lasting = value;
    else if (!strcmp(what, "drop_frames")) drop_frames = value;
    else if (!strcmp(what, "extra_frames")) extra_frames = value;
    else if (!strcmp(what, "late_frames")) late_frames = value;
    else if (!strcmp(what, "transfer_ms")) transfer_ms = value;
    else if (!strcmp(what, "idle_ms")) idle_ms = value;
    else if (!strcmp(what, "present")) present = value;
    else if (!strcmp(what, "data_type")) data_type_ = value;
    else if (!strcmp(what, "end_acquisition")) acquiring = triggers = 0, ended = 1, failed = value;
    leave(OK);
}

/* The last `count` vendor functions called, newest last, joined by spaces. */
void sim_xisl_calls(char *text, UINT size)
{
    pthread_mutex_lock(&lock);
    *text = 0;
    for (unsigned i = called > CALLS ? called - CALLS : 0; i < called; i++) {
        const char *short_name = strchr(calls[i % CALLS], '_') + 1;
        if (strlen(text) + strlen(short_name) + 2 > size)
            break;
        strcat(strcat(text, short_name), " ");
    }
    called = 0;
    memset(calls, 0, sizeof calls);
    leave(OK);
}
