"""One file -> one grey image: PNG, JPEG and DICOM, in processes of their own where many are read.

It reads system. The readers of datasets, preparation and prediction decode scans by it.
"""
