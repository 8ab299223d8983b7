"""The interface of engines and the code that all engines share. Imports no torch."""
