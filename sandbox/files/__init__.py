"""Files of a session as the host reads and writes them: by descriptors, as the guest's id."""
