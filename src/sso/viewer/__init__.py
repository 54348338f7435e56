"""The viewer: shows consoles of virtual machines in a window, and runs plug-ins at their ports."""
