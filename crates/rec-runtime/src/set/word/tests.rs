//! The changes of a word, one by one.

use super::{Obstacle, Power, Word};

#[test]
fn a_word_says_where_its_thread_is() {
    let word = Word::new(true);
    assert_eq!((word.cpu(), word.power(), word.epoch()), (None, Power::On, 0));
    let (word, begun) = word.begin(0xfffe);
    assert_eq!((begun, word.cpu()), (Ok(word), Some(0xfffe)));
    let (word, prepared) = word.prepare(3);
    assert_eq!((prepared, word.cpu(), word.power()), (Ok(word), Some(3), Power::On));
    assert!(word.is_plain(3) && !word.is_plain(2));
    assert_eq!(word.leave().0.cpu(), None);
    assert_eq!(Word::new(false).begin(1).1, Err(Obstacle::Off));
}
