"""The parent's side: one supervised worker process per device."""
