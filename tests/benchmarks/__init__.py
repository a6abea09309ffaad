"""Benchmarks: what this package takes beside what others take, and beside what the machine can do at all.

`make bench` measures all groups and writes one record; `make bench ONLY="filters steps"` measures these anew in it. A
group is a file in `groups`, whose `contests` yields what is timed; its smallest sizes are a test of the ordinary suite,
which looks at the results alone. All is on one thread and by the time of the processor, which others on the machine
disturb less than the clock, but where a contest says otherwise.
"""
