"""From exec to the first process of a session: launcher, zygote, init."""
