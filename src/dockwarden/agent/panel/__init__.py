"""The station's page: its bays, to be read from two metres away; no party, case, name or picture on it."""
