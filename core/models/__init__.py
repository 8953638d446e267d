"""The networks under study, behind one small protocol."""
