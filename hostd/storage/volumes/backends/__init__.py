"""The backends, one file each; `backend.py` beside is what each is."""
