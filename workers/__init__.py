"""The processes that run models: replicas with their model hosts, and the nodes that place them."""
