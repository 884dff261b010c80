"""`python -m bridge.lab.people`: the people's process.  Not for use by hand."""

from bridge.lab.people.child import main

main()
