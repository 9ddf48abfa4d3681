"""The operator's terminal. Heavy to import (textual): only the command that opens it does."""
