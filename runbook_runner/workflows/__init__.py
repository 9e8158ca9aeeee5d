"""Room `workflows`: JSON workflows of steps (contract §6): the document, its paths, and a core that says what comes
next and does nothing itself."""
