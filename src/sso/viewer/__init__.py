"""The viewer: consoles of virtual machines in a window, and plug-ins on their ports."""
