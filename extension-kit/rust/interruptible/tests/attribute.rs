//! `#[interruptible]` changes nothing but that it checks. With a checker of its own, so
//! without Python.

use std::cell::Cell;

use interruptible::{Checker, interruptible};

#[derive(Debug, PartialEq)]
struct Over;

/// Says stop at the given check, and counts them.
struct Count {
    left: Cell<u32>,
    seen: Cell<u32>,
}

impl Count {
    fn stop_after(left: u32) -> Count {
        Count {
            left: Cell::new(left),
            seen: Cell::new(0),
        }
    }

    fn never() -> Count {
        Count::stop_after(u32::MAX)
    }
}

impl Checker for Count {
    type Error = Over;

    fn checkpoint(&self) -> Result<(), Over> {
        self.seen.set(self.seen.get() + 1);
        if self.left.get() == 0 {
            return Err(Over);
        }
        self.left.set(self.left.get() - 1);
        Ok(())
    }
}

/// The same function twice, with checks and without.
macro_rules! both {
    ($(fn $name:ident($checker:ident $(, $argument:ident: $kind:ty)*) -> $result:ty $body:block)*) => {
        mod checked {
            use super::*;
            $(#[interruptible(with = $checker)]
            pub(super) fn $name($checker: &Count $(, $argument: $kind)*) -> Result<$result, Over> $body)*
        }
        mod plain {
            use super::*;
            $(pub(super) fn $name(_: &Count $(, $argument: $kind)*) -> Result<$result, Over> $body)*
        }
    };
}

macro_rules! next_unless_even {
    ($number:expr) => {
        if $number % 2 == 0 {
            continue;
        }
    };
}

both! {
    fn labels(checker, n: u32) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        'outer: for a in 2..n {
            let mut b = 2;
            'inner: while b * b <= a {
                if a % b == 0 {
                    continue 'outer;
                }
                b += 1;
                if b % 7 == 0 {
                    continue;
                }
                if b > 20 {
                    break 'inner;
                }
                if a > 90 {
                    break 'outer;
                }
            }
            found.push((a, b));
        }
        Ok(found)
    }
    fn value_of_loop(checker, n: u32) -> (u32, u32) {
        let mut i = 0;
        let found = loop {
            i += 1;
            let mut j = 0;
            let square = 'a: loop {
                loop {
                    j += 1;
                    if j == i {
                        break 'a i * i;
                    }
                    if j % 2 == 0 {
                        break;
                    }
                }
            };
            if square > n {
                break square;
            }
        };
        Ok((i, found))
    }
    fn patterns(checker, n: u32) -> u32 {
        let mut stack = vec![(n, n)];
        let mut sum = 0;
        while let Some((a, b)) = stack.pop() {
            next_unless_even!(a + b + 1);
            sum += a;
            if a > 0 {
                stack.push((a - 1, b - 1));
            }
        }
        for (index, &(ref text, number)) in [("x".to_owned(), 3u32)].iter().enumerate() {
            sum += index as u32 + text.len() as u32 + number;
        }
        Ok(sum)
    }
    fn in_conditions(checker, n: u32) -> u32 {
        let mut sum = 0;
        while {
            for i in 0..3 {
                sum += i;
            }
            sum < n
        } {
            sum += 1;
        }
        for i in {
            let mut k = 0;
            loop {
                k += 1;
                if k > 5 {
                    break 0..k;
                }
            }
        } {
            sum += i;
        }
        Ok(sum)
    }
    fn macros_and_blocks(checker, n: u32) -> u32 {
        let mut sum = 0;
        for i in 0..n {
            next_unless_even!(i);
            let kind = 'block: {
                if i % 3 == 0 {
                    break 'block 1;
                }
                2
            };
            sum += kind;
        }
        Ok(sum)
    }
    fn temporaries(checker, n: u32) -> usize {
        let cell = std::cell::RefCell::new((0..n).collect::<Vec<_>>());
        let mut length = 0;
        for number in cell.borrow().iter() {
            length += number.to_string().len();
        }
        cell.borrow_mut().clear();
        Ok(length)
    }
    fn never_ends_normally(checker, n: u32) -> u32 {
        let mut i = 0;
        loop {
            i += 1;
            if i == n {
                return Ok(i);
            }
        }
    }
}

#[test]
fn results_are_the_same() {
    for n in [0, 1, 2, 10, 50, 200] {
        let count = Count::never();
        assert_eq!(checked::labels(&count, n), plain::labels(&count, n));
        assert_eq!(
            checked::value_of_loop(&count, n),
            plain::value_of_loop(&count, n)
        );
        assert_eq!(checked::patterns(&count, n), plain::patterns(&count, n));
        assert_eq!(
            checked::in_conditions(&count, n),
            plain::in_conditions(&count, n)
        );
        assert_eq!(
            checked::macros_and_blocks(&count, n),
            plain::macros_and_blocks(&count, n)
        );
        assert_eq!(
            checked::temporaries(&count, n),
            plain::temporaries(&count, n)
        );
        if n > 0 {
            assert_eq!(
                checked::never_ends_normally(&count, n),
                plain::never_ends_normally(&count, n)
            );
        }
    }
}

#[test]
fn every_check_can_stop() {
    let functions: [fn(&Count) -> bool; 6] = [
        |count| checked::labels(count, 60).is_err(),
        |count| checked::value_of_loop(count, 60).is_err(),
        |count| checked::patterns(count, 60).is_err(),
        |count| checked::in_conditions(count, 60).is_err(),
        |count| checked::macros_and_blocks(count, 60).is_err(),
        |count| checked::temporaries(count, 60).is_err(),
    ];
    for function in functions {
        let count = Count::never();
        assert!(!function(&count));
        let checks = count.seen.get();
        assert!(checks > 5);
        for stop in 0..checks {
            let count = Count::stop_after(stop);
            assert!(function(&count));
            assert_eq!(count.seen.get(), stop + 1);
        }
    }
}

/// Each way back to the head of each kind of loop has its check.
#[test]
fn continue_gets_to_the_check() {
    #[interruptible(with = count)]
    fn for_ever(count: &Count) -> Result<(), Over> {
        for _ in std::iter::repeat(()) {
            continue;
        }
        Ok(())
    }
    #[interruptible(with = count)]
    #[allow(while_true, clippy::needless_continue)]
    fn while_ever(count: &Count) -> Result<(), Over> {
        while true {
            continue;
        }
        Ok(())
    }
    #[interruptible(with = count)]
    fn loop_ever(count: &Count) -> Result<(), Over> {
        'outer: loop {
            loop {
                continue 'outer;
            }
        }
    }
    #[interruptible(with = count)]
    fn empty(count: &Count) -> Result<(), Over> {
        loop {}
    }
    for function in [for_ever, while_ever, loop_ever, empty] {
        let count = Count::stop_after(10);
        assert_eq!(function(&count), Err(Over));
        assert_eq!(count.seen.get(), 11);
    }
}

/// What has been taken from the iterator has been worked on.
#[test]
fn no_item_is_taken_in_vain() {
    #[interruptible(with = count)]
    fn work(
        count: &Count,
        items: &mut dyn Iterator<Item = u32>,
        done: &mut Vec<u32>,
    ) -> Result<(), Over> {
        for item in items {
            done.push(item);
        }
        Ok(())
    }
    let (mut items, mut done) = (0..10, Vec::new());
    assert_eq!(
        work(&Count::stop_after(4), &mut items, &mut done),
        Err(Over)
    );
    assert_eq!(done, [0, 1, 2, 3]);
    assert_eq!(items.next(), Some(4));
}

/// Methods, generics, other errors, and what is left alone.
#[test]
fn other_functions() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Stopped,
    }
    impl From<Over> for Mine {
        fn from(_: Over) -> Mine {
            Mine::Stopped
        }
    }
    struct Sum {
        count: Count,
        sum: u32,
    }
    impl Sum {
        fn add(&mut self, number: u32) {
            self.sum += number;
        }

        #[interruptible(with = self.count)]
        fn all<I: IntoIterator<Item = u32>>(&mut self, numbers: I) -> Result<u32, Mine> {
            for number in numbers {
                self.add(number);
            }
            let alone = |n: u32| {
                let mut sum = 0;
                for i in 0..n {
                    sum += i;
                }
                sum
            };
            Ok(self.sum + alone(4))
        }
    }
    let mut sum = Sum {
        count: Count::never(),
        sum: 0,
    };
    assert_eq!(sum.all([1, 2, 3]), Ok(12));
    assert_eq!(sum.count.seen.get(), 4);
    sum.count = Count::stop_after(1);
    assert_eq!(sum.all([1, 2, 3]), Err(Mine::Stopped));
}

/// The adapter, with the same checker.
#[test]
fn adapter() {
    use interruptible::InterruptibleIterator;

    let count = Count::stop_after(3);
    let mut source = 0..10;
    let taken: Vec<_> = source.by_ref().interruptible(&count).collect();
    assert_eq!(taken, [Ok(0), Ok(1), Ok(2), Err(Over)]);
    assert_eq!(source.next(), Some(3));
    let sum: Result<u32, Over> = (0..10).interruptible(Count::never()).sum();
    assert_eq!(sum, Ok(45));
    let mut over = (0..10).interruptible(Count::stop_after(0));
    assert_eq!(over.size_hint(), (1, Some(10)));
    assert_eq!(over.next(), Some(Err(Over)));
    assert_eq!(over.size_hint(), (0, Some(0)));
    assert_eq!(over.next(), None);
}
