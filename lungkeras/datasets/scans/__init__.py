"""One file -> one grey image: PNG, JPEG and DICOM, in separate processes when many are read.

It reads system. The readers of datasets, preparation and prediction decode scans with it.
"""
