from hypothesis import settings

settings.register_profile("tensors", deadline=None, max_examples=40)
settings.load_profile("tensors")
