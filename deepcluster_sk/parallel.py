"""Training over several processes: each takes its part of every batch.

Processes are those of ``accelerate``, on one machine or several. All of them hold the
data and do the same, down to the bit, but for the passes through the network: there
each has a part of the rows.
"""

from deepcluster_sk._training._distributed import own_part, processes, whole_batch

__all__ = ["own_part", "processes", "whole_batch"]
