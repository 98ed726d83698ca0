"""Files of samples and verdicts, read and written."""
