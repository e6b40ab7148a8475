"""Flags, files and recipes to one validated configuration. Imports nothing, so that help stays quick."""
