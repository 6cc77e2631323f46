import Bdev
