NO_PROMTOOL = "no promtool on PATH (Debian's package prometheus): the alerts were not tried"
"""The skip that leaves the rules for Prometheus untried; the end of the run says it aloud."""
