"""The session store on Redis Cluster."""
