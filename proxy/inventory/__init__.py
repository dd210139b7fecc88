"""Who still needs this proxy: clients that were sent a translation, or refused one."""
