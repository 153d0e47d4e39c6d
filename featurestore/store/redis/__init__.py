"""The session store on one Redis or Valkey."""
