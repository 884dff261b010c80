"""A simulated cluster: many workers, one database and LiveKit, in virtual time.

Every worker runs the actors of production: keeper of leases, watching by leases, manager, room
groups, store.  Database and LiveKit are simulated.  `cluster_plan` draws faults from a seed,
`cluster_world` runs them, `cluster_laws` says what must hold.
"""

from bridge.lab.cluster.cluster_plan import ClusterFault, ClusterPlan, draw_cluster
from bridge.lab.cluster.cluster_world import ClusterOutcome, play_cluster

__all__ = ["ClusterFault", "ClusterOutcome", "ClusterPlan", "draw_cluster", "play_cluster"]
