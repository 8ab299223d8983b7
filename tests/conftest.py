from hypothesis import settings

# Time per example says nothing on a machine that also does other work.
settings.register_profile("easel", deadline=None)
settings.load_profile("easel")
