use interruptible::{Region, interruptible};

#[interruptible]
fn sum(region: &Region, n: u32) -> u32 {
    let mut sum = 0;
    for i in 0..n {
        sum += i;
    }
    sum
}

#[interruptible]
fn nothing(region: &Region) {
    loop {}
}

fn main() {}
