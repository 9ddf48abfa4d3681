"""A day's worklist to show a station with: twelve orders that it can use, one that it cannot, one of others.

All people are made up, and their names say so. Accession numbers carry the date: every day has new studies.
"""

from datetime import date, time

from simulators.pacs.orders import Order

_JAPANESE = ["", "ISO 2022 IR 87"]
_CYRILLIC = "ISO_IR 144"
_OTHER = (("73120", "C4", "Radiologic examination, hand; 2 views"),)  # CPT, memory

# at, name, side, sex, age (None: no birth date is known), character set
_DAY: tuple[tuple[time, str, str, str, int | None, str | list[str]], ...] = (
    (time(7, 40), "Demo^Anna", "L", "F", 67, "ISO_IR 192"),
    (time(8, 0), "Demo^Bruno", "R", "M", 71, "ISO_IR 192"),
    (time(8, 20), "Demo^Clara^Maria", "L", "F", 58, "ISO_IR 192"),
    (time(8, 50), "Demo^Hanako=試験^花子=しけん^はなこ", "L", "F", 74, _JAPANESE),
    (time(9, 15), "Demo^Daniel", "L", "M", 62, "ISO_IR 192"),
    (time(9, 40), "Демо^Мария", "R", "F", 81, _CYRILLIC),
    (time(10, 30), "Demo^Edith", "R", "F", 88, "ISO_IR 192"),
    (time(11, 10), "Demo^Fatima", "L", "F", 45, "ISO_IR 192"),
    (time(13, 0), "Demo^Georg", "R", "M", 79, "ISO_IR 192"),
    (time(13, 45), "Demo^Unknown^Birthdate", "L", "F", None, "ISO_IR 192"),
    (time(14, 30), "Demo^Ines", "R", "F", 53, "ISO_IR 192"),
    (time(15, 20), "Demo^Johannes^Maximilian", "L", "M", 66, "ISO_IR 192"),
)


def whole_day(today: date) -> tuple[Order, ...]:
    """The orders, in order of time but for the two that are not for use."""
    usable = tuple(
        Order(
            f"D{today:%y%m%d}{number:02}",
            f"DEMO-{number:02}",
            name,
            side,
            birth_date=_born(age, number, today),
            sex=sex,
            character_set=character_set,
            side_in_code=number == 1,
            at=at,
        )
        for number, (at, name, side, sex, age, character_set) in enumerate(_DAY, 1)
    )
    incomplete = Order(
        f"D{today:%y%m%d}13", "DEMO-13", "Demo^Kurt", sex="M", without_study_uid=True, at=time(10, 0)
    )
    other = Order(
        f"D{today:%y%m%d}14",
        "DEMO-14",
        "Demo^Lena",
        codes=_OTHER,
        procedure="Hand, two views, injury",
        at=time(11, 30),
    )
    return (*usable, incomplete, other)


def _born(age: int | None, number: int, today: date) -> str:
    """In a month of their own, on or before today's day of the year that makes them that old."""
    if age is None:
        return ""
    month, day = number, 2 * number
    had_birthday = (month, day) <= (today.month, today.day)
    return f"{today.year - age - (not had_birthday):04}{month:02}{day:02}"
