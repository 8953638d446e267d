"""The terminal workbench and the command line over `core`."""
