! Sequential, direct and stream access, unformatted, and what the runtime does around it.
program u
  implicit none
  integer :: i, k, x(1000), ios
  character(len=400) :: d
  call get_environment_variable('D', d)
  open(10, file=trim(d)//'/seq', form='unformatted', status='new')
  do i = 1, 50
    x = i
    write(10) i, x
  end do
  rewind(10)
  do i = 1, 50
    read(10) k, x
    if (k /= i .or. x(1000) /= i) print *, 'wrong', i
  end do
  backspace(10)
  read(10) k
  print *, k
  close(10)
  open(11, file=trim(d)//'/dir', form='unformatted', access='direct', recl=80, status='replace')
  do i = 20, 1, -1
    write(11, rec=i) i
  end do
  read(11, rec=7) k
  print *, k
  close(11)
  open(12, file=trim(d)//'/str', form='unformatted', access='stream')
  write(12) x(1:10)
  write(12, pos=9) 77
  inquire(12, size=k)
  print *, k
  close(12)
  open(13, file=trim(d)//'/txt', form='formatted', position='append')
  write(13, '(a,i5)') 'text', 42
  close(13)
  open(13, file=trim(d)//'/txt', status='old')
  read(13, '(4x,i5)') k
  print *, k
  close(13, status='delete')
  open(14, file=trim(d)//'/none', status='old', iostat=ios)
  print *, ios /= 0
end program
