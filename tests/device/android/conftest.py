from tests.loopback_phone.fixtures import adb_server, binary, loopback_phone, make_device, make_phone

__all__ = ["adb_server", "binary", "loopback_phone", "make_device", "make_phone"]
