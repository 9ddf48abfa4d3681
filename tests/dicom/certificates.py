"""Certificates for tests, made with openssl when they are needed: two authorities, and who they signed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from station.hospital import Tls

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
LOOPBACK = "DNS:localhost,IP:127.0.0.1"


def certificates(folder: Path) -> tuple[Tls, Tls, Tls]:
    """Of a server and a client that trust each other, and of somebody whom neither knows."""
    ours, theirs = authority(folder / "ours"), authority(folder / "theirs")
    return signed(ours, "server"), signed(ours, "client"), signed(theirs, "other")


def authority(folder: Path) -> Path:
    """A folder with an authority that can sign."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make certificates with")
    folder.mkdir(parents=True)
    name = f"/CN=Test authority {folder.name}"
    _openssl(folder, "req", "-x509", *_NEW_KEY, "-subj", name, "-days", "30", *_files("authority"))
    return folder


def signed(folder: Path, name: str, *, hosts: str = LOOPBACK, days: int = 30) -> Tls:
    """A certificate by the folder's authority; with `days` below zero it has expired."""
    _openssl(folder, "req", "-new", *_NEW_KEY, "-subj", f"/CN=Test {name}", *_files(name))
    (folder / f"{name}.ext").write_text(f"subjectAltName={hosts}\n")
    by = ("-CA", "authority.pem", "-CAkey", "authority.key", "-set_serial", str(len(list(folder.iterdir()))))
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.pem", "-out", f"{name}.pem", *by),
        *("-days", str(days), "-extfile", f"{name}.ext"),
    )
    return Tls(
        certificate=folder / f"{name}.pem", key=folder / f"{name}.key", authorities=folder / "authority.pem"
    )


def _files(name: str) -> tuple[str, ...]:
    return ("-keyout", f"{name}.key", "-out", f"{name}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
