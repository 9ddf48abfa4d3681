import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.hospital import Endpoint, Timeouts
from station.messages import hl7, mllp
from station.messages.mllp import MessageRefused, send
from station.network import NetworkError, PeerSilent, TlsFailed, Unreachable

sys.path.insert(0, str(Path(__file__).parent))
from receivers import acknowledgement, asyncio_receiver, hl7apy_receiver, scripted_receiver
