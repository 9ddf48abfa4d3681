"""The DXR acquisition station; start reading at `station/pipeline.py` and `station/states.py`."""
