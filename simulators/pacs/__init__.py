"""A hospital to talk to, in one process: worklist, performed steps, archive and message receiver.

| service | port | speaks |
|---|---|---|
| `ris` | 11120 | Modality Worklist (C-FIND), MPPS (N-CREATE, N-SET, N-GET), Verification |
| `pacs` | 11121 | Storage, Storage Commitment in three delivery modes, Query/Retrieve, Verification |
| `mllp` | 11122 | HL7 v2 messages, answered with AA, AE or AR |

The ports are those of `config/hospital-example.yaml`; a `Hospital` made by hand takes any that are free.
It refuses what the standard lets a peer refuse, and has the ills of `simulators.pacs.ills` on order.
"""

from simulators.pacs.hospital import Hospital as Hospital
from simulators.pacs.hospital import Ports as Ports
from simulators.pacs.hospital import Setup as Setup
from simulators.pacs.hospital import at_terminal as at_terminal
from simulators.pacs.orders import seeded as seeded
from simulators.pacs.steps import Step as Step
