"""Injection: schedules sent onto a network by tcpreplay or an own sender, and captured."""
