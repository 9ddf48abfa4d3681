def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="benchmarks of pictures on all variants, not a draw")
