"""The XISL library's ABI: its functions, their arguments, its error codes. No behaviour, no threads.

Signatures and codes: the vendor's header Acq.h as published with areaDetector/ADPerkinElmer and, for newer
releases, with other public clients (VERIFIED: read); texts and next actions are ours. Every function returns
an unsigned int, 0 is success. Handles are pointers in the newer header and ints in the older Linux one:
passed and received as `c_void_p` that was zero before, both work on a little-endian machine (INFERRED).
A DWORD has 32 bits on Windows; where a Linux build takes it for an unsigned long it has 64: results are
received in 64 zeroed bits and cut to 32 (INFERRED).
"""

import ctypes
import sys
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_long, c_uint, c_ushort, c_void_p
from dataclasses import dataclass
from typing import Any

from station.devices import CommunicationLost, DeviceError, DeviceFault, DeviceRefused, NotConnected

OK = 0
INIT_EVERYTHING = 0xFFFFFFFF
SYNC_SOFT = 1  # HIS_SYNCMODE_SOFT_TRIGGER
SEQUENCE_CONTINUOUS = 0x100  # HIS_SEQ_CONTINUOUS: the destination buffers are a ring
TRIGGER_FRAMEWISE = 3  # TRIGGERMODE_FRAMEWISE
DATA_16_BIT = 2  # DATASHORT
BY_ADDRESS = {"ip": 1, "mac": 2, "name": 3}  # HIS_GbIF_*
ADDRESS_LENGTH = 15  # characters; the header's arrays hold 16 with the final zero

if sys.platform == "win32":
    CALLBACK = ctypes.WINFUNCTYPE(None, c_void_p)
    DEFAULT_LIBRARY = "XISL.dll"
else:
    CALLBACK = ctypes.CFUNCTYPE(None, c_void_p)
    DEFAULT_LIBRARY = "libxisl.so"
Callback = Any  # a CALLBACK: it must be kept alive as long as the library may call it

_H, _OUT = c_void_p, c_void_p
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "EnumSensors": (_OUT, c_int, c_int),
    "GetNextSensor": (_OUT, _OUT),
    "GbIF_Init": (_OUT, c_int, c_int, c_uint, c_uint, c_int, c_int, c_long, c_char_p),
    "GetCommChannel": (_H, _OUT, _OUT),
    "SetCallbacksAndMessages": (_H, c_void_p, c_uint, c_uint, c_void_p, c_void_p),
    "SetCameraMode": (_H, c_uint),
    "SetCameraGain": (_H, c_ushort),
    "SetCameraBinningMode": (_H, c_ushort),
    "SetCameraTriggerMode": (_H, c_ushort),
    "GetConfiguration": (_H, *(_OUT,) * 10),
    "GetHwHeaderInfoEx": (_H, _OUT, _OUT),
    "DefineDestBuffers": (_H, c_void_p, c_uint, c_uint, c_uint),
    "ResetFrameCnt": (_H,),
    "SetFrameSyncMode": (_H, c_uint),
    "Acquire_Image": (_H, c_uint, c_uint, c_uint, c_void_p, c_void_p, c_void_p),
    "SetFrameSync": (_H,),
    "GetActFrame": (_H, _OUT, _OUT),
    "SetReady": (_H, c_int),
    "Abort": (_H,),
    "GetErrorCode": (_H, _OUT, _OUT),
    "Close": (_H,),
    "CloseAll": (),
}
_NEWER: dict[str, tuple[Any, ...]] = {  # absent from older releases
    "Global_Init": (c_uint,),
    "Global_Cleanup": (),
    "GetConnectionStatus": (_H,),
    "GetTemperature": (_H, _OUT),
    "GbIF_GetDetectorProperties": (_H, _OUT),
}


class Library:
    """The loaded library."""

    def __init__(self, path: str) -> None:
        """Load it. Raises `NotConnected`."""
        try:
            loaded: Any = ctypes.WinDLL(path) if sys.platform == "win32" else ctypes.CDLL(path)
        except OSError as error:
            raise NotConnected(
                f"the XISL library '{path}' cannot be loaded ({error}); install the vendor's SDK for this "
                "machine, or correct the setting library"
            ) from error
        self._functions: dict[str, Callable[..., int]] = {}
        for name, arguments in (_SIGNATURES | _NEWER).items():
            function = getattr(loaded, f"Acquisition_{name}", None)
            if function is not None:
                function.argtypes, function.restype = arguments, c_uint
                self._functions[name] = function
        missing = sorted(_SIGNATURES.keys() - self._functions.keys())
        if missing:
            raise NotConnected(
                f"'{path}' is no XISL library or too old: it has no Acquisition_{missing[0]}; "
                "install the vendor's SDK, or correct the setting library"
            )

    def has(self, name: str) -> bool:
        """True if this release of the library has that function."""
        return name in self._functions

    def call(self, name: str, *arguments: object) -> None:
        """Call Acquisition_<name>. Raises the `DeviceError` of its error code."""
        code = self._functions[name](*arguments)
        if code != OK:
            raise error_of(name, code)


class Word:
    """Room for an int, UINT, DWORD, handle or position that a function gives back."""

    def __init__(self) -> None:
        self.room = ctypes.c_uint64(0)
        self.out = ctypes.byref(self.room)

    @property
    def number(self) -> int:
        """The 32 bits of a UINT or DWORD."""
        return self.room.value & 0xFFFFFFFF

    @property
    def pointer(self) -> int:
        """All bits, as a handle needs them."""
        return self.room.value


@dataclass(frozen=True, slots=True)
class Identity:
    """What a panel says of itself."""

    model: str
    serial: str


class _Properties(ctypes.Structure):  # GBIF_Detector_Properties, 128 bytes
    _fields_ = (
        ("type", ctypes.c_char * 32),
        ("made", ctypes.c_char * 8),
        ("place", ctypes.c_char * 8),
        ("unique_id", ctypes.c_char * 16),  # the older header has filler from here on
        ("device_id", ctypes.c_char * 16),
        ("rest", ctypes.c_char * 48),
    )


# Cameratype of panels with header 14, as the ADPerkinElmer driver lists them from the manual (VERIFIED)
_MODELS = {
    1: "XRD 0820/1621/1641 xN",
    2: "XRD 0820/1620/1621 xN",
    7: "XRD 1640 xN ES",
    8: "XRD 0822 xO",
    9: "XRD 1622 xO",
    10: "XRD 0822 xP",
    11: "XRD 1622/1642 xP",
    12: "XRD 1642 xP",
    13: "XRpad 4336/4343",
    15: "XRD 1611 xP",
}
_HEADER_ID, _PROM_ID, _CAMERA_TYPE = 0, 1, 0x15  # words of CHwHeaderInfoEx


def header(library: Library, handle: int) -> tuple[int, ...]:
    """The 32 words of the panel's hardware header (CHwHeaderInfoEx)."""
    info = (ctypes.c_ubyte * 512)()  # CHwHeaderInfo: 24 words of 32 or 64 bits, unused
    extended = (c_ushort * 64)()  # 32 in the header, and room
    library.call("GetHwHeaderInfoEx", handle, info, extended)
    return tuple(extended[:32])


def newer_binning(words: tuple[int, ...]) -> bool:
    """True where binning mode 1 is none (0 is none on the older panels)."""
    return words[_HEADER_ID] >= 14 and words[_CAMERA_TYPE] >= 2


def properties(library: Library, handle: int) -> bytes:
    """What a network panel says of itself (GBIF_Detector_Properties); empty for others."""
    told = _Properties()
    if not library.has("GbIF_GetDetectorProperties"):
        return b""
    try:
        library.call("GbIF_GetDetectorProperties", handle, ctypes.byref(told))
    except (CommunicationLost, NotConnected):
        raise
    except DeviceError:
        return b""  # a frame grabber's panel has none
    return bytes(told)


def identity(words: tuple[int, ...], told: bytes) -> Identity:
    """Model and serial number, of a network panel as it says, else from its header."""
    model = _MODELS.get(words[_CAMERA_TYPE], "") if words[_HEADER_ID] == 14 else "XRD 0840/1620/1640 xN"
    serial = f"PROM-{words[_PROM_ID]}"
    if len(told) == ctypes.sizeof(_Properties):
        known = _Properties.from_buffer_copy(told)
        model = _text(known.type) or model
        serial = _text(known.unique_id) or _text(known.device_id) or serial
    return Identity(f"Varex {model or 'panel of unknown type'}", serial)


def _text(raw: bytes) -> str:
    return "".join(c for c in raw.decode("ascii", "ignore") if c.isprintable()).strip()


# --- errors ---------------------------------------------------------------------------------------------

_NAMES_FROM_0 = """
ALL_OK MEMORY BOARDINIT NOCAMERA CORRBUFFER_INCOMPATIBLE ACQ_ALREADY_RUNNING TIMEOUT INVALIDACQDESC
VXDNOTFOUND VXDNOTOPEN VXDUNKNOWNERROR VXDGETDMAADR ACQABORT ACQUISITION VXD_REGISTER_IRQ
VXD_REGISTER_STATADR GETOSVERSION SETFRMSYNC SETFRMSYNCMODE SETTIMERSYNC INVALID_FUNC_CALL ABORTCURRFRAME
GETHWHEADERINFO HWHEADER_INV SETLINETRIG_MODE WRITE_DATA READ_DATA SETBAUDRATE NODESC_AVAILABLE
BUFFERSPACE_NOT_SUFF SETCAMERAMODE FRAME_INV SLOW_SYSTEM GET_NUM_BOARDS HW_ALREADY_OPEN_BY_ANOTHER_PROCESS
CREATE_MEMORYMAPPING VXD_REGISTER_DMA_ADDRESS VXD_REGISTER_STAT_ADDR VXD_UNMASK_IRQ LOADDRIVER FUNC_NOTIMPL
MEMORY_MAPPING CREATE_MUTEX ACQ DESC_NOT_LOCAL INVALID_PARAM ABORT WRONGBOARDSELECT WRONG_CAMERA_MODE
AVERAGED_LOST BAD_SORTING_PARAM UNKNOWN_IP_MAC_NAME NO_BOARD_IN_SUBNET UNABLE_TO_OPEN_BOARD
UNABLE_TO_CLOSE_BOARD UNABLE_TO_ACCESS_DETECTOR_FLASH HEADER_TIMEOUT NO_FPGA_ACK NR_OF_BOARDS_CHANGED
SETEXAMFLAG ILLEGAL_INDEX NOT_INITIALIZED NOT_DISCOVERED ONBOARDAVGFAILED GET_ONBOARD_OFFSET CURL
ENABLE_ONBOARD_OFFSET ENABLE_ONBOARD_MEAN ENABLE_ONBOARD_GAINOFFSET ENABLE_ONBOARD_PREVIEW
SET_ONBOARD_BINNING LOAD_COORECTIONIMAGETOBUFFER INVALIDBUFFERNR INVALID_HANDLE ALREADY_EXISTS
DOES_NOT_EXIST OPEN_FILE INVALID_FILENAME SETDISCOVERYTIMEOUT
"""
_NAMES_FROM_100 = """
SERIALREAD SERIALWRITE SETDAC SETADC SET_IMAGE_TAG SET_PROC_SCRIPT SET_IMAGE_TAG_LENGTH
RETRIEVE_ENHANCED_HEADER ENABLE_INTERRUPTS XRPD_SESSION_ERROR XRPD_SET_EVENT XRPD_NO_EVENT_INTERFACE
XRPD_CREATE_FAKE_SHOCK_EVENT XRPD_GET_SDCARD_INFO XRPD_SET_TEMP_FAKE_MODE EMI_NOT_SET XRPD_NO_LOCATION
SET_IDLE_TIMEOUT SET_CHARGE_MODE XRPD_CREATE_FAKE_SHOCK_EVENT_CRIT XRPD_CREATE_FAKE_SHOCK_EVENT_WARN
XRPD_FACTORY_RESET_SHOCK_EVENT XRPD_NO_NETWORK XRPD_SET_NETWORK XRPD_VERIFY_GENUINENESS
XRPD_SET_PRIVATE_KEY XRPD_SET_TEMPERATURE_TIMEOUT XRPD_RESET_TEMPERATURE_TIMEOUT
XRPD_SET_TEMPERATURE_THRESHOLDS XRPD_GET_TEMPERATURE_THRESHOLDS XRPD_NO_EVENTCALLBACK_DEFINED
XRPD_SET_DATE_TIME XRPD_RESEND_ALL_MSG ACKNOWLEDGE_IMAGE XRPD_CONNECT XRPD_RESET_SHOCK
XRPD_REQUEST_POWERSTATE XRPD_GET_AUTOPOWERONLOCATIONS XRPD_SET_AUTOPOWERONLOCATIONS GET_CHARGE_MODE
XRPD_SET_FORCE_FSCK XRPD_SET_SDCARD_TIMEOUT XRPD_GET_SDCARD_TIMEOUT MISSING_VERSION_INFORMATION
XRPD_NOT_CONNECTED XRPD_SDCARDPERFORMANCE HW_BOARD_CHANNEL_ALREADY_USED XRPD_GET_CURRENT_VOLTAGE
XRPD_SET_CPUFREQ_GOVERNOR XRPD_GET_WLAN_CC XRPD_SET_WLAN_CC XRPD_GET_WLAN_ChannelList
XRPD_DISABLE_SYSLOG_SAVING SET_PACKET_DELAY GET_AVAILABLE_SYSTEMS XRPD_GET_DEEPSLEEPIDLELOCATIONS
XRPD_SET_DEEPSLEEPIDLELOCATIONS XRPD_DETECTOR_IN_DEEP_SLEEP XRPD_GET_TEMP_VALUES XRPD_GET_EPC_REGISTER
SETHEADERSIZE SETREGISTERTIMEOUT XRPD_SET_EPC_REGISTER XRPD_BATTERY_COM WSA NOT_SUPPORTED
TRANSMISSION_MODE CONFLICT WLAN_RESTART SET_EVENT_CALLBACK XRPD_GET_DEF_BOOT_CFG XRPD_SET_DEF_BOOT_CFG
RESET_ZYNQ
"""
NAMES = (
    dict(enumerate(_NAMES_FROM_0.split()))
    | dict(enumerate(_NAMES_FROM_100.split(), 100))
    | {174: "XRPD_GET_DET_TYPE", 175: "XRPD_GET_DET_OPTIONS", 176: "INIT_DET_OPTIONS"}
)

_TAKEN = "another program holds the panel", "close it, also in the background, then connect"
_SILENT = "the panel does not answer", "check its power and network cable; the line is tried again by itself"
_LOST = "data from the panel were lost", "check the network adapter's jumbo frames and load, then arm anew"
_MACHINE = "the computer refuses what the library needs", "restart the computer, then install the SDK anew"
_DRIVER = "the frame grabber's driver does not work", "install the vendor's driver, check the card"
_STATE = "the library refuses this now", "close the detector and connect again"

_Kind = type[NotConnected] | type[CommunicationLost] | type[DeviceRefused]
_GROUPS: tuple[tuple[_Kind, tuple[str, str], tuple[int, ...]], ...] = (
    (NotConnected, _TAKEN, (34, 53, 146)),
    (NotConnected, ("no panel was found", "check its power, cable and the setting address"), (3, 51, 52, 62)),
    (NotConnected, ("the panels changed", "close the detector and connect again"), (7, 58, 61, 73)),
    (NotConnected, _DRIVER, (2, 8, 9, 10, 11, 14, 15, 33, 36, 37, 38, 39, 47)),
    (NotConnected, _MACHINE, (1, 16, 28, 35, 41, 42, 164)),
    (
        CommunicationLost,
        _SILENT,
        (6, 22, 23, 25, 26, 56, 57, 65, 100, 101, 107, 109, 111, 122, 134, 144, 168),
    ),
    (CommunicationLost, ("the panel sleeps", "wake it at its button or with the vendor's tool"), (136, 157)),
    (CommunicationLost, _LOST, (13, 31, 32, 43, 49)),
    (DeviceRefused, _STATE, (5, 12, 17, 18, 20, 21, 29, 30, 40, 44, 45, 46, 48, 50, 60, 72, 165, 166, 167)),
)
_BY_CODE = {code: (kind, text) for kind, text, codes in _GROUPS for code in codes}


def error_of(function: str, code: int) -> DeviceError:
    """The error of a code; one without a group of its own is a fault of the panel."""
    name = f"HIS_ERROR_{NAMES[code]}" if code in NAMES else "not in the vendor's list"
    if code not in _BY_CODE:
        return DeviceFault(
            str(code),
            name,
            f"varex-xisl: Acquisition_{function} failed",
            "switch the panel off and on, then connect; if it stays, call service",
        )
    kind, (text, action) = _BY_CODE[code]
    return kind(f"varex-xisl: {text} (Acquisition_{function}: {code} {name}); {action}")
