"""The log: structlog's processors, the wording of each line, and the sink they go to."""
