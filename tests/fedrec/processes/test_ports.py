def test_a_port_of_the_sixth_internet_protocol_can_be_taken_too() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        taken.listen()
        with pytest.raises(FedrecError, match="cannot listen on ::1"):
            require_free_port("::1", taken.getsockname()[1])
