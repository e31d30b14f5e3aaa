"""The engines that draw samples, one file each."""
