"""The layers of the jail, in the order in which they are put on."""
