"""`python -m bridge.people`: the people's process.  Not for use by hand."""

from bridge.people.child import main

main()
