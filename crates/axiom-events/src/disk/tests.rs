use super::*;

/// A child process that was begun and has not come to its own program has a copy of each open file.
#[test]
fn a_folder_is_free_again_although_somebody_has_a_copy_of_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Machine.lock(folder.path()).unwrap();
    let copy = lock.downcast_ref::<Locked>().unwrap().file.try_clone().unwrap();
    let taken = Machine.lock(folder.path()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    let lock = Machine.lock(folder.path()).unwrap();
    drop((lock, copy));
}
