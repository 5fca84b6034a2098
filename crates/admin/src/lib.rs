//! What people see and change: the API that the command line speaks to the running process.
