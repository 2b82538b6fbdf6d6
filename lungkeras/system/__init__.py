"""The computer, as this package uses it: files, locks, processes, texts, hashes, Keras' backend and its devices.

It reads nothing of the package, and everything else reads it. untrusted/ checks files from others.
"""
