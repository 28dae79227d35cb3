"""What `launch.infer` and `launch.view` are made of.

Here: configuration, reading, recovery and saving of a folder of maps.  Not here: flags of the
command line.
"""
