"""Where sessions rest: the protocol of a store, its keys, and a store in memory."""
