use interruptible::{Region, Stopped, interruptible};

#[interruptible]
fn once(region: &Region) -> Result<u32, Stopped> {
    let sum = |n: u32| {
        let mut sum = 0;
        for i in 0..n {
            sum += i;
        }
        sum
    };
    Ok(sum(3))
}

#[interruptible]
const fn constant(region: &Region) -> Result<(), Stopped> {
    loop {}
}

#[interruptible]
struct Nothing;

fn main() {}
