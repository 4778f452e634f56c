NO_BROWSER = "no browser on PATH"
"""How every skip begins that leaves the pages untested; the end of the run says it aloud."""
