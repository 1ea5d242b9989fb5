"""Interfaces to the station for people and programs: the control socket and `doorctl`."""
